"""The data plane on the wire: tensors, headers, frames, parser, connections, codecs."""
