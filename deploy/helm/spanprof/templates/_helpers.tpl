{{/* The name of all objects. */}}
{{- define "spanprof.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The labels by which the pods are found. They may never change. */}}
{{- define "spanprof.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* The labels of every object. */}}
{{- define "spanprof.labels" -}}
{{ include "spanprof.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "spanprof.serviceAccount" -}}
{{- if .Values.serviceAccount.name -}}
{{- .Values.serviceAccount.name -}}
{{- else if .Values.serviceAccount.create -}}
{{- include "spanprof.fullname" . -}}
{{- else -}}
default
{{- end -}}
{{- end -}}

{{- define "spanprof.image" -}}
{{- $image := printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- if .Values.image.digest -}}
{{- $image = printf "%s@%s" $image .Values.image.digest -}}
{{- end -}}
{{- $image -}}
{{- end -}}

{{/* The path at which the agent finds a key of the Secret. */}}
{{- define "spanprof.secrets" -}}/etc/spanprof-secrets{{- end -}}

{{/* Keys of the Secret that are used, by the setting of the agent that names the file. */}}
{{- define "spanprof.secretFiles" -}}
{{- $files := dict -}}
{{- with .Values.secret -}}
{{- if .passwordKey }}{{ $_ := set $files "basic_auth_password_file" .passwordKey }}{{ end -}}
{{- if .bearerTokenKey }}{{ $_ := set $files "bearer_token_file" .bearerTokenKey }}{{ end -}}
{{- if .caKey }}{{ $_ := set $files "ca_file" .caKey }}{{ end -}}
{{- if .clientCertificateKey }}{{ $_ := set $files "client_certificate_file" .clientCertificateKey }}{{ end -}}
{{- if .clientKeyKey }}{{ $_ := set $files "client_key_file" .clientKeyKey }}{{ end -}}
{{- end -}}
{{- toJson $files -}}
{{- end -}}

{{/* The agent's file of settings. JSON's strings, numbers and lists are TOML's, too; toToml writes 49 as 49.0. */}}
{{- define "spanprof.toml" -}}
pyroscope_url = {{ .Values.pyroscope.url | toJson }}
{{- with .Values.pyroscope.tenantId }}
tenant_id = {{ toJson . }}
{{- end }}
{{- with .Values.pyroscope.basicAuthUser }}
basic_auth_user = {{ toJson . }}
{{- end }}
{{- range $setting, $key := include "spanprof.secretFiles" . | fromJson }}
{{ $setting }} = {{ printf "%s/%s" (include "spanprof.secrets" $) $key | toJson }}
{{- end }}
{{- range $setting, $value := omit .Values.config "tags" }}
{{ $setting }} = {{ toJson $value }}
{{- end }}
{{- with .Values.config.tags }}
[tags]
{{- range $key, $value := . }}
{{ toJson $key }} = {{ toJson $value }}
{{- end }}
{{- end }}
{{ end -}}

{{/* The port of a URL: the one it names, else that of its scheme. */}}
{{- define "spanprof.port" -}}
{{- $url := urlParse . -}}
{{- if regexMatch ":[0-9]+$" $url.host -}}
{{- regexFind "[0-9]+$" $url.host -}}
{{- else if eq $url.scheme "https" -}}
443
{{- else -}}
80
{{- end -}}
{{- end -}}

{{/* Refuses values that contradict each other, before anything is rendered. */}}
{{- define "spanprof.check" -}}
{{- $files := include "spanprof.secretFiles" . | fromJson -}}
{{- if and $files (not .Values.secret.name) -}}
{{- fail "secret.name is missing: the keys of which Secret are meant?" -}}
{{- end -}}
{{- if and .Values.secret.name (not $files) -}}
{{- fail "secret.name is set, but none of its keys: passwordKey, bearerTokenKey, caKey, clientCertificateKey and clientKeyKey say which of them are used" -}}
{{- end -}}
{{- if ne (empty .Values.pyroscope.basicAuthUser) (empty .Values.secret.passwordKey) -}}
{{- fail "pyroscope.basicAuthUser and secret.passwordKey go together: one of them is missing" -}}
{{- end -}}
{{- if and .Values.secret.passwordKey .Values.secret.bearerTokenKey -}}
{{- fail "secret.passwordKey and secret.bearerTokenKey exclude each other" -}}
{{- end -}}
{{- if ne (empty .Values.secret.clientCertificateKey) (empty .Values.secret.clientKeyKey) -}}
{{- fail "secret.clientCertificateKey and secret.clientKeyKey go together: one of them is missing" -}}
{{- end -}}
{{- if and (regexMatch "^(127\\.|\\[?::1)" .Values.listen.address) (or (not .Values.probes.exec) .Values.podMonitor.enabled) -}}
{{- fail "listen.address is of the pod alone: neither the kubelet's probes nor Prometheus reach it; set probes.exec, and leave podMonitor off" -}}
{{- end -}}
{{- end -}}
