"""The fake Kaggle understands the official client's requests for notebooks."""

from __future__ import annotations

import requests

from pipeline.kaggle.client import calls
from pipeline.kaggle.client.session import KaggleSession
from tests.kaggle.server import KaggleServer


def test_each_version_of_a_notebook_has_its_own_status_and_output(kaggle: KaggleServer) -> None:
    from kagglesdk.kernels.types import kernels_api_service as types

    kaggle.run_kernel = lambda text: {"submission.csv": text.encode()}
    session = KaggleSession.connect()
    with calls.guarded(), session.api.build_kaggle_client() as client:
        kernels = client.kernels.kernels_api_client
        save = types.ApiSaveKernelRequest()
        save.slug = "ada/final-train"
        for number in (1, 2):
            save.text = f"print({number})"
            assert kernels.save_kernel(save).version_number == number
        status = types.ApiGetKernelSessionStatusRequest()
        status.user_name, status.kernel_slug, status.version_label = "ada", "final-train", "v1"
        words = [kernels.get_kernel_session_status(status).status.name for _ in range(3)]
        assert words == ["QUEUED", "RUNNING", "COMPLETE"]
        status.version_label = "v2"
        assert kernels.get_kernel_session_status(status).status.name == "QUEUED"
        listing = types.ApiListKernelSessionOutputRequest()
        listing.user_name, listing.kernel_slug = "ada", "final-train"
        for number in (1, 2):
            listing.version_label = f"v{number}"
            (file,) = kernels.list_kernel_session_output(listing).files
            assert file.file_name == "submission.csv"
            assert requests.get(file.url, timeout=10).text == f"print({number})"
    assert kaggle.kernels["ada/final-train"]["versions"][0]["request"]["text"] == "print(1)"
