"""A Konvox of one's own: a real server that answers the documented calls and delivers events as Konvox does.

Run by `konvox-hooks sandbox`, by the demo and by tests. `app` puts it together; a further resource is a module with a
`routes` table, added to the list there.
"""

from konvox.sandbox.app import create_sandbox, run_sandbox
from konvox.sandbox.config import SandboxConfig

__all__ = ["SandboxConfig", "create_sandbox", "run_sandbox"]
