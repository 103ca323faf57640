import pytest
import spanprof
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from spanprof import _hook


@pytest.fixture(autouse=True, params=[False, True], ids=["unprobed", "probed"])
def probed(request):
    """Run every test with and without a listener."""
    _hook._force_probes(request.param)
    yield request.param
    _hook._force_probes(False)


@pytest.fixture
def provider():
    provider = TracerProvider(
        resource=Resource({"service.name": "shop", "service.namespace": "läden"}),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(spanprof.SpanProcessor())
    return provider


@pytest.fixture
def tracer(provider):
    return provider.get_tracer("test")


@pytest.fixture(autouse=True)
def no_failures():
    """Fail a test that leaves failures it did not expect."""
    before = spanprof.stats()["failures"]
    expected = []
    yield expected
    assert spanprof.stats()["failures"] - before == sum(expected)
