"""Recipes: which tensor gets which scheme, as a document that is read, checked and applied.

`document.py` says what a recipe is, `read.py` reads one and explains its mistakes, `uniform.py` is
the recipe of a single scheme, `assignment.py` applies a recipe to a checkpoint's tensors.
"""

from refquant.recipe.assignment import Assignment, Assignments, assign
from refquant.recipe.document import FALLBACKS, KEEP, Recipe, Rule
from refquant.recipe.read import check_recipe, parse_recipe, read_recipe, recipe_from_data
from refquant.recipe.roles import ROLES, Role, layer_of, role_of
from refquant.recipe.uniform import uniform_recipe
from refquant.recipe.unused import doubts

__all__ = [
    "FALLBACKS",
    "KEEP",
    "ROLES",
    "Assignment",
    "Assignments",
    "Recipe",
    "Role",
    "Rule",
    "assign",
    "check_recipe",
    "doubts",
    "layer_of",
    "parse_recipe",
    "read_recipe",
    "recipe_from_data",
    "role_of",
    "uniform_recipe",
]
