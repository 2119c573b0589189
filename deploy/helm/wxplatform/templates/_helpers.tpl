{{- define "wxplatform.selector" -}}
app.kubernetes.io/name: wxplatform
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "wxplatform.labels" -}}
{{ include "wxplatform.selector" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- /* The keys of the secret. The setting of each is PLATFORM_ and its name. */ -}}
{{- define "wxplatform.secrets" -}}
["component_secret", "component_token", "component_aes_key", "sealing_keys", "database_url", "redis_url"]
{{- end }}
