"""The search for a teacher's settings: a space around its recipe, trials with Optuna, and the best one as a recipe."""
