"""What the measures share. Only `product` imports the product's own rooms, beside the handlers that a worker loads."""
