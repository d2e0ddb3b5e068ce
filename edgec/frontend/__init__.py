"""Front ends: one file per checkpoint format, each ending in the same Checkpoint.

    load.py            picks the front end for what the user named
    huggingface.py     folder with config.json and safetensors     huggingface_config.py  its configuration
    gguf.py            .gguf file                                  gguf_header.py, gguf_config.py, gguf_tokenizer.py
    llama2c.py         .bin file of llama2.c                       llama2c_tokenizer.py
    tokenizer.py       tokenizer of a Hugging Face folder          safetensors_file.py    headers, checked before use
    rope.py            rotary frequencies                          checks.py, provenance.py

Whatever cannot be computed exactly as its authors meant is refused by name: nothing is ignored.
"""
