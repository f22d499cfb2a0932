"""Recipes under the names that users of other tools know.

Each module speaks one tool's language and translates it into a `refquant.recipe.Recipe`, whose
schemes are that tool's own contracts: `ai_edge.py` (Google AI Edge), and so on. Nothing else in the
package knows these spellings.
"""

__all__: list[str] = []
