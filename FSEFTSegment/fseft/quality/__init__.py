"""How far a single result can be trusted, judged without a reference."""
