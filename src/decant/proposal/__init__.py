"""A study proposed for a person's photos: what they are, which networks suit the machine, how long it takes."""
