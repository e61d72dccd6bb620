"""How single files of the store are written, judged and set aside."""
