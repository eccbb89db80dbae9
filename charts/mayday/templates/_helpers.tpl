{{- define "mayday.labels" -}}
app.kubernetes.io/name: mayday
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "mayday.selector" -}}
app.kubernetes.io/name: mayday
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "mayday.image" -}}
{{- with .Values.image -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{- /* The operator, as admission sees it. */}}
{{- define "mayday.operator" -}}
system:serviceaccount:{{ .Release.Namespace }}:mayday
{{- end }}

{{- /*
Whether the operator itself asks: by a token of its own, which the API server marks; whoever impersonates its account
carries no such mark.
*/}}
{{- define "mayday.isOperator" -}}
(request.userInfo.username == '{{ include "mayday.operator" . }}'
&& 'authentication.kubernetes.io/credential-id' in request.userInfo.?extra.orValue({}))
{{- end }}

{{- /* The account that plans by dry run, as admission sees it. */}}
{{- define "mayday.planner" -}}
system:serviceaccount:{{ .Release.Namespace }}:mayday-planner
{{- end }}

{{- /* Port of a listener: the digits behind the last colon of its address. */}}
{{- define "mayday.port" -}}
{{ regexFind "[0-9]+$" .address }}
{{- end }}

{{- /*
A CEL list of the identities that one of Kubernetes' own controllers may have: its ServiceAccount, or the user
that all controllers share where the controller-manager runs without --use-service-account-credentials.
*/}}
{{- define "mayday.controller" -}}
['system:serviceaccount:kube-system:{{ . }}', 'system:kube-controller-manager']
{{- end }}

{{- /* clientConfig of a webhook. The operator adds caBundle; what is not in the template, an upgrade leaves alone. */}}
{{- define "mayday.clientConfig" -}}
{{- with .root.Values.webhook.url -}}
{{- if not (regexMatch "^https://[^/?#@]+$" .) }}
{{- fail (printf "webhook.url: %s is not a base URL of https: write https://HOST:PORT, without path and slash at the end" .) }}
{{- end -}}
{{- end -}}
{{- if .root.Values.webhook.url -}}
url: {{ .root.Values.webhook.url }}{{ .path }}
{{- else -}}
service:
  name: mayday
  namespace: {{ .root.Release.Namespace }}
  path: {{ .path }}
  port: 443
{{- end }}
{{- end }}
