"""Uses so much CPU time in spans of a service that the arguments describe: name, seconds, attributes."""

import sys

import workload

name, seconds, *attributes = sys.argv[1:]
resource = dict(attribute.split("=", 1) for attribute in attributes)
tracer = workload.set_up_tracing(service_name=name, **resource)
workload.wait_for_start()
used = 0.0
while used < float(seconds):
    with tracer.start_as_current_span("root"):
        used += workload.burn(0.1)
workload.say(used=used)
workload.wait_for_end()
