"""The numbered points: what the product must show, with bound, figure and number of cases."""
