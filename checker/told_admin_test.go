package checker

// administration is what can go wrong with offsets, owners and topics.
var administration = []planted{
	{id: "A21", name: "a committed offset is older than an acknowledged commit",
		bug:   func(a *tale) { commit(a, 4, "x", OK); commit(a, 6, "y", OK); committed(a, 4, "x") },
		clean: func(a *tale) { commit(a, 4, "x", OK); commit(a, 6, "y", Unknown); committed(a, 4, "x") }},
	{id: "A21", name: "a committed offset is gone",
		bug:   func(a *tale) { commit(a, 4, "x", OK); committed(a, -1, "") },
		clean: func(a *tale) { committed(a, -1, ""); commit(a, 4, "x", OK) }},
	{id: "A21", name: "a commit of unknown outcome comes and goes",
		bug: func(a *tale) {
			commit(a, 4, "x", OK)
			commit(a, 6, "y", Unknown)
			committed(a, 6, "y")
			committed(a, 4, "x")
		},
		clean: func(a *tale) {
			commit(a, 4, "x", OK)
			commit(a, 6, "y", Unknown)
			committed(a, 4, "x")
			committed(a, 6, "y")
		}},
	{id: "A21", name: "a refused commit is read",
		bug:   func(a *tale) { commit(a, 4, "x", Fail); committed(a, 4, "x") },
		clean: func(a *tale) { commit(a, 4, "x", Fail); committed(a, -1, "") }},
	{id: "A21", name: "another offset under the same name",
		bug:   func(a *tale) { commit(a, 4, "x", OK); committed(a, 0, "x") },
		clean: func(a *tale) { commit(a, 0, "x", OK); committed(a, 0, "x") }},
	{id: "A22", name: "two owners in one generation",
		bug:   func(a *tale) { own(a, "m1", 1, 0, 1); own(a, "m2", 1, 1, 2) },
		clean: func(a *tale) { own(a, "m1", 1, 0, 1); own(a, "m2", 2, 1, 2) }},
	{id: "A22", name: "a commit of a generation that is over is accepted",
		bug:   func(a *tale) { own(a, "m1", 1, 0); own(a, "m2", 2, 0); commitIn(a, 1, OK, "") },
		clean: func(a *tale) { own(a, "m1", 1, 0); own(a, "m2", 2, 0); commitIn(a, 1, Fail, "ILLEGAL_GENERATION") }},
	{id: "A22", name: "a commit of the generation in force is refused as stale",
		bug: func(a *tale) {
			own(a, "m1", 1, 0)
			commitIn(a, 1, Fail, "ILLEGAL_GENERATION")
			own(a, "m2", 2, 0)
		},
		clean: func(a *tale) {
			own(a, "m1", 1, 0)
			commitIn(a, 1, Fail, "REBALANCE_IN_PROGRESS")
			own(a, "m2", 2, 0)
		}},
	{id: "A30", name: "one topic id for two topics",
		bug:   func(a *tale) { created(a, "a", "id1"); created(a, "b", "id1") },
		clean: func(a *tale) { created(a, "a", "id1"); created(a, "b", "id2") }},
	{id: "A30", name: "a topic comes back under its id",
		bug:   func(a *tale) { created(a, "a", "id1"); deleted(a, "a"); created(a, "a", "id1") },
		clean: func(a *tale) { created(a, "a", "id1"); deleted(a, "a"); created(a, "a", "id2") }},
	{id: "A30", name: "a deleted topic is shown again",
		bug: func(a *tale) {
			created(a, "a", "id1")
			shows(a, 1, "a", "id1", 3)
			deleted(a, "a")
			shows(a, 1, "a", "", 0)
			shows(a, 1, "a", "id1", 3)
		},
		clean: func(a *tale) {
			created(a, "a", "id1")
			shows(a, 1, "a", "id1", 3)
			deleted(a, "a")
			shows(a, 1, "a", "", 0)
			created(a, "a", "id2")
			shows(a, 1, "a", "id2", 3)
		}},
	{id: "A30", name: "a created topic vanishes",
		bug:   func(a *tale) { created(a, "a", "id1"); shows(a, 1, "a", "", 0) },
		clean: func(a *tale) { created(a, "a", "id1"); shows(a, 1, "a", "", 0); shows(a, 1, "a", "id1", 3) }},
	{id: "A30", name: "a topic that was shown vanishes, and returns",
		bug: func(a *tale) {
			shows(a, 1, "a", "id1", 3)
			shows(a, 1, "a", "", 0)
		},
		clean: func(a *tale) {
			shows(a, 1, "a", "id1", 3)
			shows(a, 2, "a", "", 0) // another node, which knows less
			shows(a, 2, "a", "id1", 3)
		}},
	{id: "A30", name: "partitions become fewer",
		bug:   func(a *tale) { shows(a, 1, "a", "id1", 3); shows(a, 1, "a", "id1", 2) },
		clean: func(a *tale) { shows(a, 1, "a", "id1", 3); shows(a, 1, "a", "id1", 4); shows(a, 2, "a", "id1", 3) }},
	{id: "A30", name: "two leaders in one epoch",
		bug:   func(a *tale) { led(a, 1, 1, 5); led(a, 2, 2, 5) },
		clean: func(a *tale) { led(a, 1, 1, 5); led(a, 2, 2, 6) }},
	{id: "A30", name: "a leader epoch falls",
		bug:   func(a *tale) { led(a, 1, 1, 5); led(a, 1, 2, 4) },
		clean: func(a *tale) { led(a, 1, 1, 5); led(a, 2, 2, 4) }},
}

func commit(a *tale, offset int64, token string, out Outcome) {
	a.op(Commit, func(o *Op) { o.Process, o.Group, o.Offset, o.Token, o.Outcome = 20, "g", offset, token, out })
}

func committed(a *tale, offset int64, token string) {
	a.op(FetchOffset, func(o *Op) { o.Process, o.Group, o.Offset, o.Token = 21, "g", offset, token })
}

func commitIn(a *tale, generation int64, out Outcome, e string) {
	a.op(Commit, func(o *Op) {
		o.Process, o.Group, o.Member, o.Generation, o.Offset, o.Token, o.Outcome, o.Error = 20, "g", "m1", generation, 5, "in", out, e
	})
}

func own(a *tale, member string, generation int64, partitions ...int64) {
	a.op(Own, func(o *Op) {
		o.Process, o.Group, o.Member, o.Generation, o.Partitions = 20, "g", member, generation, partitions
	})
}

func created(a *tale, topic, id string) {
	a.op(CreateTopic, func(o *Op) { o.Process, o.Topic, o.TopicID, o.Count = 30, topic, id, 3 })
}

func deleted(a *tale, topic string) {
	a.op(DeleteTopic, func(o *Op) { o.Process, o.Topic = 30, topic })
}

// led is an answer of a node: topic a has one partition, and this leader in this epoch.
func led(a *tale, node, leader, epoch int64) {
	shows(a, node, "a", "id1", 1, Leader{0, leader, epoch})
}

// shows is an answer of a node; count 0: the topic does not exist.
func shows(a *tale, node int64, topic, id string, count int64, leaders ...Leader) {
	a.op(Metadata, func(o *Op) {
		o.Process, o.Node, o.Topic, o.TopicID, o.Count, o.Exists, o.Leaders = 31, node, topic, id, count, count > 0, leaders
	})
}
