"""The parts of the Konvox API client; users import `konvox.client`."""
