"""A study proposed for a person's photos: their layout, networks that suit the machine, and the time it takes."""
