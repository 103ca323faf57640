import logging
import os
import pickle
import subprocess
import sys
import threading
import types

import pytest
import spanprof
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanLimits, TracerProvider, sampling
from opentelemetry.sdk.trace import SpanProcessor as SdkSpanProcessor

PROFILE_ID = "pyroscope.profile.id"
SAMPLED = trace.TraceFlags(trace.TraceFlags.SAMPLED)


def local_root(span):
    return span.get_span_context()._spanprof_local_root[0]


def span_id(span):
    return span.get_span_context().span_id


def profile_id(span):
    return span.attributes.get(PROFILE_ID)


def below(parent_context):
    return trace.set_span_in_context(trace.NonRecordingSpan(parent_context))


def test_is_a_span_processor_of_the_sdk():
    processor = spanprof.SpanProcessor()
    assert isinstance(processor, SdkSpanProcessor)
    assert spanprof.PyroscopeSpanProcessor is spanprof.SpanProcessor
    assert processor.force_flush() is True
    assert processor.force_flush(10) is True
    assert processor.shutdown() is None


def test_hooks_are_native():
    assert not isinstance(spanprof.SpanProcessor.on_start, types.FunctionType)
    assert not isinstance(spanprof.SpanProcessor.on_end, types.FunctionType)


def test_a_root_span_is_its_own_local_root(tracer):
    with tracer.start_as_current_span("root") as span:
        assert local_root(span) == span_id(span)
        assert profile_id(span) == format(span_id(span), "016x")


def test_small_ids_are_padded():
    class SmallIds:
        def generate_span_id(self):
            return 0xABC

        def generate_trace_id(self):
            return 1

        def is_trace_id_random(self):
            return False

    provider = TracerProvider(id_generator=SmallIds(), shutdown_on_exit=False)
    provider.add_span_processor(spanprof.SpanProcessor())
    assert profile_id(provider.get_tracer("test").start_span("root")) == "0000000000000abc"


def test_descendants_have_the_local_root_of_the_root(tracer):
    with tracer.start_as_current_span("root") as root:
        with tracer.start_as_current_span("child") as child:
            grandchild = tracer.start_span("grandchild")
        late = tracer.start_span("late", trace.set_span_in_context(child))
    for span in (child, grandchild, late):
        assert local_root(span) == span_id(root)
        assert profile_id(span) is None


def test_a_span_below_a_remote_parent_is_a_local_root(tracer):
    remote = trace.SpanContext(2**127 + 5, 2**63 + 7, is_remote=True, trace_flags=SAMPLED)
    span = tracer.start_span("server", below(remote))
    assert local_root(span) == span_id(span)
    assert profile_id(span) == format(span_id(span), "016x")
    child = tracer.start_span("child", trace.set_span_in_context(span))
    assert local_root(child) == span_id(span)


def test_a_wrapped_parent_context_keeps_its_local_root(tracer):
    root = tracer.start_span("root")
    child = tracer.start_span("child", below(root.get_span_context()))
    assert local_root(child) == span_id(root)


def test_a_span_below_an_unknown_local_parent_is_a_local_root(tracer):
    parent = trace.SpanContext(5, 7, is_remote=False, trace_flags=SAMPLED)
    span = tracer.start_span("job", below(parent))
    assert local_root(span) == span_id(span)
    assert profile_id(span) == format(span_id(span), "016x")


def test_dropped_spans_are_not_reported():
    provider = TracerProvider(sampler=sampling.ALWAYS_OFF, shutdown_on_exit=False)
    provider.add_span_processor(spanprof.SpanProcessor())
    before = spanprof.stats()["spans_started"]
    with provider.get_tracer("test").start_as_current_span("dropped"):
        pass
    assert spanprof.stats()["spans_started"] == before


def test_recorded_but_unsampled_spans_are_reported():
    class RecordOnly(sampling.Sampler):
        def should_sample(self, *args, **kwargs):
            return sampling.SamplingResult(sampling.Decision.RECORD_ONLY)

        def get_description(self):
            return "RecordOnly"

    provider = TracerProvider(sampler=RecordOnly(), shutdown_on_exit=False)
    provider.add_span_processor(spanprof.SpanProcessor())
    before = spanprof.stats()["spans_started"]
    with provider.get_tracer("test").start_as_current_span("unsampled") as span:
        assert local_root(span) == span_id(span)
    assert spanprof.stats()["spans_started"] == before + 1


def test_active_spans_carry_their_own_id():
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(spanprof.SpanProcessor(span_label="active"))
    tracer = provider.get_tracer("test")
    with tracer.start_as_current_span("root") as root:
        child = tracer.start_span("child")
    for span in (root, child):
        assert profile_id(span) == format(span_id(span), "016x")
    assert local_root(child) == span_id(root)


def test_an_unknown_span_label_is_refused():
    with pytest.raises(ValueError, match="'local-root' or 'active'"):
        spanprof.SpanProcessor(span_label="leaf")


def test_a_subclass_may_take_its_own_arguments():
    class Mine(spanprof.SpanProcessor):
        def __init__(self, queue, *, size):
            super().__init__(span_label="active")
            self.queue = queue

        def on_start(self, span, parent_context=None):
            super().on_start(span, parent_context)
            self.queue.append(span)

    queue = []
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Mine(queue, size=1))
    span = provider.get_tracer("test").start_span("root")
    assert queue == [span]
    assert profile_id(span)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (SpanLimits(max_span_attributes=1), "whole"),
        (SpanLimits(max_span_attribute_length=4), "cut"),
        (SpanLimits(max_span_attributes=0), None),
    ],
)
def test_the_attribute_keeps_to_the_limits(limits, expected):
    provider = TracerProvider(span_limits=limits, shutdown_on_exit=False)
    provider.add_span_processor(spanprof.SpanProcessor())
    span = provider.get_tracer("test").start_span("root", attributes={"a": 1})
    whole = format(span_id(span), "016x")
    assert profile_id(span) == {"whole": whole, "cut": whole[:4], None: None}[expected]
    assert len(span.attributes) == (0 if expected is None else 1 if expected == "whole" else 2)


def test_registered_twice_is_harmless(provider, tracer):
    provider.add_span_processor(spanprof.SpanProcessor())
    with tracer.start_as_current_span("root") as root:
        child = tracer.start_span("child")
    assert local_root(child) == span_id(root)
    assert profile_id(child) is None


def test_span_contexts_stay_what_they_are(tracer):
    context = tracer.start_span("root").get_span_context()
    assert context == tuple(context)
    copy = pickle.loads(pickle.dumps(context))
    assert type(copy) is trace.SpanContext
    assert copy == context


def test_counts_every_span_of_every_thread(tracer):
    before = spanprof.stats()
    wrong = []

    def work():
        for _ in range(500):
            with tracer.start_as_current_span("root") as root:
                child = tracer.start_span("child")
                if local_root(child) != span_id(root):
                    wrong.append(child)
                child.end()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    after = spanprof.stats()
    assert after["spans_started"] - before["spans_started"] == 8000
    assert after["spans_ended"] - before["spans_ended"] == 8000


def in_a_child(check):
    child = os.fork()
    if child == 0:
        try:
            right = check()
        except BaseException:
            right = False
        os._exit(0 if right else 1)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 0


def is_local_root(span):
    return local_root(span) == span_id(span) and profile_id(span) == format(span_id(span), "016x")


def test_a_span_below_one_of_before_a_fork_is_a_local_root(tracer):
    def child():
        with tracer.start_as_current_span("in the child") as span:
            below = tracer.start_span("below")
        is_below = local_root(below) == span_id(span) and profile_id(below) is None
        return is_local_root(span) and is_below

    with tracer.start_as_current_span("root") as root:
        assert in_a_child(child)
        span = tracer.start_span("in the parent")
        assert local_root(span) == span_id(root)


def test_the_mark_of_a_forked_process_survives_copies(tracer):
    def child():
        with tracer.start_as_current_span("in the child") as span:
            copy = pickle.loads(pickle.dumps(span.get_span_context()))
            return local_root(tracer.start_span("below", below(copy))) == span_id(span)

    assert in_a_child(child)


def test_names_of_all_kinds(tracer):
    for name in ("", "größe", "名前", "a" * 100_000):
        tracer.start_span(name).end()


def test_a_name_that_is_no_text_is_still_a_span(tracer, no_failures, probed):
    # A lone surrogate has a replacement.
    no_failures.append(1 if probed else 0)
    for name in ("\ud800", 7):
        span = tracer.start_span(name)
        assert local_root(span) == span_id(span)
        assert profile_id(span)


def test_ids_out_of_range_are_a_failure_and_not_another_id(no_failures, probed):
    span = types.SimpleNamespace(
        _context=trace.SpanContext(2**128, 5, False), _parent=None, _name="x"
    )
    span.set_attribute = lambda key, value: None
    no_failures.append(2 if probed else 0)
    processor = spanprof.SpanProcessor()
    processor.on_start(span)
    processor.on_end(span)


def test_only_the_public_interface(probed):
    attributes = {}
    span = types.SimpleNamespace(
        context=types.SimpleNamespace(trace_id=1, span_id=2, is_remote=False, trace_flags=1),
        parent=types.SimpleNamespace(trace_id=1, span_id=3, is_remote=True),
        name="x",
        set_attribute=attributes.__setitem__,
    )
    processor = spanprof.SpanProcessor()
    processor.on_start(span)
    processor.on_end(span)
    assert attributes == {PROFILE_ID: "0000000000000002"}


def test_weird_objects_never_raise(no_failures, probed):
    class Refuses:
        def __getattr__(self, name):
            raise RuntimeError(name)

    processor = spanprof.SpanProcessor()
    weird = (None, 5, object(), Refuses(), types.SimpleNamespace(_context=()))
    for span in weird:
        assert processor.on_start(span) is None
        assert processor.on_start(span, parent_context=None) is None
        assert processor.on_end(span) is None
    no_failures.append(len(weird) * (3 if probed else 2))


def test_interrupts_pass():
    class Interrupts:
        def __getattr__(self, name):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        spanprof.SpanProcessor().on_start(Interrupts())


def run(program, **environment):
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )


def test_a_failure_is_logged_once():
    result = run(
        "import spanprof\n"
        "for _ in range(3): spanprof.SpanProcessor().on_start(None)\n"
        "print(spanprof.stats()['failures'])"
    )
    assert result.stdout.strip() == "3"
    assert result.stderr.count("the start of a span failed") == 1
    assert "AttributeError" in result.stderr


def test_without_the_native_module_nothing_happens():
    result = run(
        "import sys; sys.modules['spanprof._hook'] = None\n"
        "import spanprof\n"
        "from opentelemetry.sdk.trace import TracerProvider\n"
        "provider = TracerProvider()\n"
        "provider.add_span_processor(spanprof.SpanProcessor(span_label='active'))\n"
        "with provider.get_tracer('x').start_as_current_span('y') as span: pass\n"
        "print(dict(span.attributes), spanprof.stats())"
    )
    assert result.stdout.strip() == "{} {'spans_started': 0, 'spans_ended': 0, 'failures': 0}"
    assert result.stderr.count("cannot be loaded") == 1


BLOCK = """
import spanprof
from spanprof import _hook
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
assert _hook._process_block() is None
for name, namespace in {resources}:
    attributes = {{"service.name": name}}
    if namespace is not None:
        attributes["service.namespace"] = namespace
    provider = TracerProvider(resource=Resource(attributes))
    provider.add_span_processor(spanprof.SpanProcessor())
    provider.get_tracer("x").start_span("y")
print(_hook._process_block().hex())
"""


@pytest.mark.parametrize(
    ("resources", "name", "namespace"),
    [
        ([("shop", "läden")], "shop", "läden"),
        ([("first", None), ("second", "x")], "first", ""),
        ([("x" + "ä" * 200, None)], "x" + "ä" * 127, ""),
        ([("ab" * 128, "c" * 257)], "ab" * 128, "c" * 256),
    ],
)
def test_the_process_block_describes_the_first_resource(resources, name, namespace):
    result = run(BLOCK.format(resources=resources), PYTHONIOENCODING="utf-8")
    block = bytes.fromhex(result.stdout.strip())
    assert len(block) == 520
    name, namespace = name.encode(), namespace.encode()
    assert block[:4] == (1).to_bytes(4, sys.byteorder)
    assert block[4:6] == len(name).to_bytes(2, sys.byteorder)
    assert block[6:8] == len(namespace).to_bytes(2, sys.byteorder)
    assert block[8:264] == name.ljust(256, b"\0")
    assert block[264:] == namespace.ljust(256, b"\0")


ATTRIBUTES = """
import spanprof
from spanprof import _hook
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
assert _hook._process_attributes() is None
for attributes in {resources}:
    provider = TracerProvider(resource=Resource({{"service.name": "x", **attributes}}))
    provider.add_span_processor(spanprof.SpanProcessor())
    provider.get_tracer("x").start_span("y")
print(_hook._process_attributes().hex())
"""

ALL = {
    "service.version": "1.2",
    "deployment.environment.name": "läden",
    "deployment.environment": "prod",
    "service.instance.id": "7",
}


@pytest.mark.parametrize(
    ("resources", "told"),
    [
        ([ALL], ALL),
        ([{}, ALL], {}),
        ([{"service.version": 7, "service.instance.id": "", "host.name": "x"}], {}),
        ([dict.fromkeys(ALL, "x" + "ä" * 300)], dict.fromkeys(ALL, "x" + "ä" * 127)),
    ],
)
def test_the_process_attributes_are_those_of_the_first_resource(resources, told):
    result = run(ATTRIBUTES.format(resources=resources), PYTHONIOENCODING="utf-8")
    expected = b""
    for attribute in told.items():
        name, value = (text.encode() for text in attribute)
        expected += len(name).to_bytes(2, sys.byteorder) + len(value).to_bytes(2, sys.byteorder)
        expected += name + value
    assert bytes.fromhex(result.stdout.strip()) == expected


def test_says_nothing_when_all_is_well(tracer, caplog):
    with caplog.at_level(logging.DEBUG, "spanprof"), tracer.start_as_current_span("root"):
        pass
    assert [record for record in caplog.records if record.name == "spanprof"] == []
