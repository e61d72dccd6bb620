"""Who the user of splitctl is, and in which fleets: contexts, identities, getting and keeping one."""
