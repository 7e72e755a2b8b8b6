"""Learning algorithms: update() and evaluate(), one screen each."""
