"""The teachers' knowledge: stored so that it can be replayed, and the losses that transfer it."""
