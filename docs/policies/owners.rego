# What somebody owns is changed by commits of theirs. The patterns are in owners.yaml, which is data.owners here.
package reconciler.owners

deny contains {
	"msg": sprintf("belongs to %s; the commit is by %s", [concat(", ", entry.owners), author]),
	"address": change.address,
	"code": "not-the-owner",
	"fix": "let an owner make the commit, or ask them to become one.",
} if {
	some change in input.changes
	some entry in data.owners
	owned(entry, change)
	not author in entry.owners
}

owned(entry, change) if {
	change.file != null
	glob.match(entry.files, ["/"], change.file)
}

# What is deleted stands in no manifest any more.
owned(entry, change) if {
	change.kind == "item"
	glob.match(entry.uris, ["/"], change.name)
}

default author := "nobody that git knows"

author := input.commit.author if {
	input.commit.author != null
	not input.commit.dirty # what is not committed is nobody's
}
