# Nobody sees anything without having logged in.
package reconciler.access

deny contains {
	"msg": "would be seen by everybody, also by whoever did not log in",
	"address": change.address,
	"code": "no-anonymous",
	"fix": "take `anonymous: true` out of its permissions.",
} if {
	some change in input.changes
	change.kind == "item"
	some level in change.after.permissions.levels
	some set in level.sets
	set.anonymous
}
