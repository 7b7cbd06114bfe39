"""The server of Prefect: which API is used, and the local server of this library.

In: the user's profile and environment. Out: an API that answers.

Begin with `api` (finds the API that is configured) and `local_server` (starts and stops the local one).
`server_state` is what is stored about it, `api_client` sends requests to an API with the settings of Prefect.
"""
