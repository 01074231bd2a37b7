"""The predictors over HTTP, and a page to play with: thin over `segue.api`."""

from segue.serving.app import Limits, create_app
from segue.serving.run import serve

__all__ = ["Limits", "create_app", "serve"]
