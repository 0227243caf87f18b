package catalogue

// K07: the files of a node.
var (
	BadLog = define("K0701", Usage, "the file or directory cannot be read as one of a node",
		"karst log reads segment files, named by the offset of their first record in a directory TOPIC-PARTITION, "+
			"and whole data directories, which have a file \"node\".",
		"karst dev status -o json        to see the data directories of a dev cluster")
	Damaged = define("K0702", Unhealthy, "bytes that were stored cannot be read back",
		"A checksum, an offset or an epoch is not what it must be, or a file is missing. A node that starts on "+
			"this directory takes the partition offline, or fetches what is lost from a replica that has it; it never votes "+
			"on what it does not have.",
		"start the node, and look at its log: what another replica holds is mended at the start",
		"karst log verify DIR        for the whole directory")
	NoRepair = define("K0703", Usage, "no repair without the cluster is safe",
		"What a crash tore is cut by the next start itself. What was promised and is lost can only come from a "+
			"replica that has it: a tool that dropped it here would let this node vote on what it forgot, and records "+
			"that were acknowledged could be lost everywhere. So karst log repair only says what a start would do.",
		"karst log repair DIR --dry-run",
		"start the node: it cuts what was torn, and fetches what another replica has")
)
