"""The sandbox, a local Konvox: a real server that answers the documented calls and delivers events as Konvox does.

Run by `konvox-hooks sandbox`, `dev --sandbox`, the demo and tests. `app` puts it together. To add a resource, write a
module with a function `routes`, and add it to the list in `app`.
"""

from konvox.sandbox.app import create_sandbox, run_sandbox
from konvox.sandbox.config import SandboxConfig

__all__ = ["SandboxConfig", "create_sandbox", "run_sandbox"]
