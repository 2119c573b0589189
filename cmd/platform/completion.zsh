#compdef platform
# Completion of platform's commands in zsh. Load it with: source <(platform completion zsh)
_platform() {
	local -a found
	found=("${(@f)$("${words[1]}" completion zsh -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
	if [[ -n "${found[1]}" ]]; then
		_describe platform found
	else
		_files
	fi
}
if [[ "${funcstack[1]}" = _platform ]]; then
	_platform
else
	compdef _platform platform
fi
