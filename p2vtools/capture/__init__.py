"""From a person with a phone and a printer to a capture folder."""
