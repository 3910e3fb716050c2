# Nothing is deleted on Fridays and at weekends; whoever must can say so: --allow policy:quiet-days.
package reconciler.calendar

quiet := {"Friday", "Saturday", "Sunday"}

deny contains {
	"msg": sprintf("%d deletions on a %s", [input.summary.delete, input.weekday]),
	"code": "quiet-days",
	"why": "nobody is there to put it right.",
	"fix": "apply it on Monday",
	"overridable": true,
} if {
	input.weekday in quiet
	input.summary.delete > 0
}
