"""Operations that splitctl asks of the controller, and the documents that answer them."""
