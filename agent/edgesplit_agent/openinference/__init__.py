"""The Open Inference Protocol v2 (REST, with its binary tensor extension), for any of its clients.

In order of use: `datatypes` (the protocol's names of numpy's dtypes), `requests` (what a client may ask, pure),
`json_tensors` (tensors written as JSON numbers, pure), `responses` (what is answered, pure), `descriptions` (metadata of
server and models, pure), `failures` (errors as status and document, pure), `memory` (what bodies may hold together),
`bodies` (a body's bytes, straight into tensors), `receiving` (from body to request), `models` (who serves), `answers`
(on their way), `endpoint` (the routes).

References: [1] Open Inference Protocol, REST, https://github.com/kserve/open-inference-protocol. [2] Triton Inference
Server, binary tensor data extension and model repository extension, https://github.com/triton-inference-server/server.
"""
