"""How good a model is, judged from its own support set."""
