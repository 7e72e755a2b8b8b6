"""Many runs, whatever starts them."""
