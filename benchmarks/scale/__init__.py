"""Scale: the same questions at a hundred thousand trades and at many more, and the plans that answer them."""
