"""A project that knows nothing of sparsity-tuner, but for the file `searched.py`."""
