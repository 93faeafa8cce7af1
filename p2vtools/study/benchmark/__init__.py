"""What the parts of the project give on cases whose truth is known: a module a part, called by `make evaluate`."""
