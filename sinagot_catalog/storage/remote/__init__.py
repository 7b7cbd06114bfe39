"""Remote storage: buckets and web folders, through fsspec; S3, Google and Azure are listed by obstore.

In: a URL and its options. Out: listings as columns, contents as bytes, errors without a secret.

Begin with `store`, then `remote_root` (a URL with its file system) and `remote_listing`. `cloud_listing` and
`range_listing` list large buckets fast; `filesystem` is the only module that imports fsspec. Every store that
fsspec knows works; a kind of bucket with names, options or a fast listing of its own is named in `filesystem`,
`cloud_listing` and `config.storage_options`.
"""
