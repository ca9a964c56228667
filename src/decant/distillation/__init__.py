"""The store of the teachers' soft labels, and the losses that transfer them to the student."""
