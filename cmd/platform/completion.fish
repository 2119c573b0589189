# Completion of platform's commands in fish. Load it with: platform completion fish | source
function __platform_candidates
	set -l words (commandline -opc)
	set -l program $words[1]
	set -l last (commandline -ct)
	set -e words[1]
	$program completion fish -- $words "$last" 2>/dev/null
end
complete -c platform -f -a '(__platform_candidates)'
