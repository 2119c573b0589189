# Completion of platform's commands in bash. Load it with: source <(platform completion bash)
_platform() {
	local IFS=$'\n'
	COMPREPLY=($("$1" completion bash -- "${COMP_WORDS[@]:1:COMP_CWORD-1}" "$2" 2>/dev/null))
}
complete -o default -F _platform platform
