"""What the teachers know, stored so that it can be replayed, and the losses that pass it on."""
