{{/* Names, labels and images that several templates use. */}}

{{- define "mens-operator.name" -}}
{{- default "mens-operator" .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "mens-operator.fullname" -}}
{{- default (printf "%s-operator" .Release.Name) .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "mens-operator.storeName" -}}
{{- printf "%s-dev-store" .Release.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "mens-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "mens-operator.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "mens-operator.labels" -}}
{{ include "mens-operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: mens
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- with .Values.extraLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "mens-operator.selector" -}}
app.kubernetes.io/name: {{ include "mens-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Labels of the store; its own component, so that no selector of the operator takes it. */}}
{{- define "mens-operator.storeSelector" -}}
app.kubernetes.io/name: mens-dev-store
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "mens-operator.storeLabels" -}}
{{ include "mens-operator.storeSelector" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: mens
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- with .Values.extraLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* One image: (list . "mens-operator") */}}
{{- define "mens-operator.image" -}}
{{- $root := index . 0 }}{{ $name := index . 1 }}
{{- $said := index $root.Values.images $name }}
{{- default (printf "%s%s:%s" $root.Values.imagePrefix $name $root.Chart.AppVersion) $said }}
{{- end }}

{{- define "mens-operator.endpoint" -}}
{{- if .Values.s3.endpoint }}
{{- .Values.s3.endpoint }}
{{- else if .Values.devStore.enabled }}
{{- printf "http://%s.%s.svc:8333" (include "mens-operator.storeName" .) .Release.Namespace }}
{{- end }}
{{- end }}

{{/* `first:longest` of a retry, checked: (list . "input") */}}
{{- define "mens-operator.retrySeconds" -}}
{{- $root := index . 0 }}{{ $name := index . 1 }}
{{- $said := index $root.Values.jobs.retrySeconds $name }}
{{- if $said }}
{{- $parts := splitList ":" $said }}
{{- if gt (float64 (first $parts)) (float64 (last $parts)) }}
{{- fail (printf "jobs.retrySeconds.%s is %q: the first pause is longer than the longest. Write first:longest, as 30:600." $name $said) }}
{{- end }}
{{- $said }}
{{- end }}
{{- end }}

{{/* What every pod of this chart is: restricted. */}}
{{- define "mens-operator.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "mens-operator.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* What the operator does in the namespaces of resources: no more than it does. */}}
{{- define "mens-operator.rules" -}}
- apiGroups: [mens.vox-lang.org]
  resources: [menscorpora, menstrainruns, mensserves]
  verbs: [get, list, watch]
- apiGroups: [mens.vox-lang.org]
  resources: [menscorpora, menstrainruns]
  # spec.ttlSecondsAfterFinished.
  verbs: [delete]
- apiGroups: [mens.vox-lang.org]
  resources: [menscorpora/status, menstrainruns/status, mensserves/status]
  verbs: [patch]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [list, watch, create, patch, delete]
# get: an endpoint's namesake must not be taken over. Their owner's end deletes them.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end }}
