"""Changes that no case can tell, each with the reason why its outputs are the same."""

__all__ = ["EQUIVALENT"]

EQUIVALENT: dict[str, str] = {}
