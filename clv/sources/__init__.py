"""Raw shop files: finding them, unpacking them safely, and reading them with every value checked."""
