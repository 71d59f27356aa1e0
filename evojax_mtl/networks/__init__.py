"""Networks: what is evaluated."""
