"""The module's screen: each panel shows the session and calls it, and holds no state of its own."""
