"""What Deep Image Prior undoes, one file each; `degradation.py` first, `known.py` is the list."""
