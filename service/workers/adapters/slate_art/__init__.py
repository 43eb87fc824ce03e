"""Drawing of the sandbox model's slate; captions use its text and fonts."""
