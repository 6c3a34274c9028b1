//! Memberships from the repo, over gRPC: what fan-out and large-group start from.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use schemas::ids::{GroupId, UserId};
use schemas::pb::GetMembershipsRequest;
use stages::membership::{Membership, MembershipSource};
use stages::repo::client::group_repo_client::GroupRepoClient;
use tonic::transport::Channel;

/// Groups asked for in one call: what the repo takes.
const GROUPS_A_CALL_MAX: usize = 100;
/// How long one call may take.
const CALL_TIME_MAX: Duration = Duration::from_secs(10);

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Asks the repo behind this channel.
pub fn from_repo(repo: Channel) -> MembershipSource {
    let client = GroupRepoClient::new(repo);
    Arc::new(move |groups| load(client.clone(), groups).boxed())
}

async fn load(mut client: GroupRepoClient<Channel>, groups: Vec<GroupId>) -> Result<Vec<Membership>, Cause> {
    let mut found: HashMap<i64, Membership> = HashMap::new();
    for groups in groups.chunks(GROUPS_A_CALL_MAX) {
        let request = GetMembershipsRequest { group_ids: groups.iter().map(|group| group.0).collect() };
        let read = async {
            let mut parts = client.get_memberships(request).await?.into_inner();
            while let Some(part) = parts.message().await? {
                let empty = || Membership {
                    group_id: GroupId(part.group_id),
                    version: part.version,
                    large: part.large,
                    members: Vec::new(),
                };
                let membership = found.entry(part.group_id).or_insert_with(empty);
                membership.members.extend(part.user_ids.iter().map(|&id| UserId(id)));
            }
            Ok::<_, Cause>(())
        };
        tokio::time::timeout(CALL_TIME_MAX, read).await??;
    }
    Ok(found.into_values().collect())
}
