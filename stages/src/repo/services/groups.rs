//! `GroupRepo`.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::{StreamExt, stream};
use schemas::error::Refusal;
use schemas::ids::{ConversationId, GroupId, UserId};
use schemas::names;
use schemas::pb;
use tonic::Status;

use super::auth::random;
use super::{CallError, Repo, Streamed, input, service, status_of};
use crate::repo::group_rules::no_conversation;
use crate::repo::grpc::group_repo_server::GroupRepo;
use crate::repo::model::{Act, Group, GroupChange, Member, Membership, NewGroup, Role};

/// Users in one CreateGroup or AddGroupMember.
const USER_IDS_MAX: usize = 1_000;
/// Groups in one GetMemberships.
const MEMBERSHIPS_MAX: usize = 100;
/// User ids in one part of a membership.
const MEMBERSHIP_PART_USERS_MAX: usize = 10_000;
/// Bytes of randomness in the key of a group event.
const EVENT_ID_BYTES: usize = 16;

service! {
    GroupRepo
    create_group(CreateGroupRequest) -> Group;
    get_group(GetGroupRequest) -> Group;
    update_group(UpdateGroupRequest) -> Group;
    dissolve_group(DissolveGroupRequest) -> Empty;
    add_group_member(AddGroupMemberRequest) -> Empty;
    remove_group_member(RemoveGroupMemberRequest) -> Empty;
    set_group_member_role(SetGroupMemberRoleRequest) -> Empty;
    get_group_members(GetGroupMembersRequest) -> GetGroupMembersResponse;
    get_online_group_members(GetGroupMembersRequest) -> GetGroupMembersResponse;
    [stream] get_memberships(GetMembershipsRequest) -> GetMembershipsStream: Membership;
}

impl Repo {
    pub(super) async fn create_group(&self, request: pb::CreateGroupRequest) -> Result<pb::Group, CallError> {
        let owner = input::user_id("owner_id", request.owner_id)?;
        let (name, description) = (names::name("name", &request.name)?, names::description(&request.description)?);
        let group = NewGroup {
            id: GroupId(self.new_id()?),
            name,
            description,
            member_ids: input::user_ids("member_ids", &request.member_ids, USER_IDS_MAX)?,
            max_members: self.config.group_members_max,
        };
        let made = self.store.create_group(&group, &self.act(owner)?).await?;
        self.group_changed.notify_one();
        Ok(group_to_pb(made))
    }

    async fn change(&self, group_id: i64, actor_id: i64, change: GroupChange) -> Result<Group, CallError> {
        let group = input::group_id(group_id)?;
        let act = self.act(input::user_id("actor_id", actor_id)?)?;
        let changed = self.store.change_group(group, &change, &act).await?;
        self.group_changed.notify_one();
        Ok(changed)
    }

    fn act(&self, actor: UserId) -> Result<Act, CallError> {
        let key: [u8; EVENT_ID_BYTES] = random()?;
        let event_id = format!("outbox-{}", URL_SAFE_NO_PAD.encode(key));
        Ok(Act { actor, at: self.clock.now_ms(), event_id })
    }

    async fn get_group(&self, request: pb::GetGroupRequest) -> Result<pb::Group, CallError> {
        self.readable_group(request.group_id, request.reader_id).await.map(group_to_pb)
    }

    async fn update_group(&self, request: pb::UpdateGroupRequest) -> Result<pb::Group, CallError> {
        let pb::UpdateGroupRequest { group_id, actor_id, name, description } = request;
        let name = name.map(|name| names::name("name", &name)).transpose()?;
        let description = description.map(|description| names::description(&description)).transpose()?;
        self.change(group_id, actor_id, GroupChange::Rename { name, description }).await.map(group_to_pb)
    }

    async fn dissolve_group(&self, request: pb::DissolveGroupRequest) -> Result<pb::Empty, CallError> {
        self.change(request.group_id, request.actor_id, GroupChange::Dissolve).await.map(nothing)
    }

    async fn add_group_member(&self, request: pb::AddGroupMemberRequest) -> Result<pb::Empty, CallError> {
        let user_ids = input::user_ids("user_ids", &request.user_ids, USER_IDS_MAX)?;
        if user_ids.is_empty() {
            return Err(Refusal::invalid("user_ids names nobody").into());
        }
        self.change(request.group_id, request.actor_id, GroupChange::Add { user_ids }).await.map(nothing)
    }

    async fn remove_group_member(&self, request: pb::RemoveGroupMemberRequest) -> Result<pb::Empty, CallError> {
        let user_id = input::user_id("user_id", request.user_id)?;
        self.change(request.group_id, request.actor_id, GroupChange::Remove { user_id }).await.map(nothing)
    }

    async fn set_group_member_role(&self, request: pb::SetGroupMemberRoleRequest) -> Result<pb::Empty, CallError> {
        let user_id = input::user_id("user_id", request.user_id)?;
        let role = Role::named(&request.role).ok_or_else(|| Refusal::invalid("role is owner, admin or member"))?;
        self.change(request.group_id, request.actor_id, GroupChange::SetRole { user_id, role }).await.map(nothing)
    }

    async fn readable_group(&self, group_id: i64, reader_id: Option<i64>) -> Result<Group, CallError> {
        let id = input::group_id(group_id)?;
        if let Some(reader) = reader_id {
            self.reads_from(ConversationId::Group(id), input::user_id("reader_id", reader)?).await?;
        }
        Ok(self.store.group(id).await?.ok_or_else(no_conversation)?)
    }

    async fn get_group_members(
        &self,
        request: pb::GetGroupMembersRequest,
    ) -> Result<pb::GetGroupMembersResponse, CallError> {
        let limit = input::MEMBERS_PAGE.read(request.limit)?;
        let after = input::read_members_cursor(&request.cursor)?.unwrap_or_default();
        let group = self.readable_group(request.group_id, request.reader_id).await?;
        let members = self.store.members(group.id, after, limit + 1).await?;
        Ok(self.members_page(members, limit))
    }

    async fn get_online_group_members(
        &self,
        request: pb::GetGroupMembersRequest,
    ) -> Result<pb::GetGroupMembersResponse, CallError> {
        let limit = input::MEMBERS_PAGE.read(request.limit)?;
        let after = input::read_members_cursor(&request.cursor)?.unwrap_or_default();
        let group = self.readable_group(request.group_id, request.reader_id).await?;
        let all = self.store.membership(group.id).await?.map(|membership| membership.user_ids).unwrap_or_default();
        let online = all.into_iter().filter(|&user| user > after && (self.is_online)(user));
        let page: Vec<_> = online.take(limit + 1).collect();
        let members = self.store.members_among(group.id, &page).await?;
        Ok(self.members_page(members, limit))
    }

    /// A page of members of which one more than the limit was read.
    fn members_page(&self, mut members: Vec<Member>, limit: usize) -> pb::GetGroupMembersResponse {
        let more = members.len() > limit;
        members.truncate(limit);
        let next = members.last().filter(|_| more).map(|member| input::members_cursor(member.user_id));
        let member = |member: Member| pb::GroupMember {
            user_id: member.user_id.0,
            username: member.username,
            display_name: member.display_name,
            role: member.role.name().to_owned(),
            joined_at: member.joined_at,
            online: (self.is_online)(member.user_id),
        };
        pb::GetGroupMembersResponse {
            members: members.into_iter().map(member).collect(),
            next_cursor: next.unwrap_or_default(),
        }
    }

    /// Loads each group once the caller has received the one before, so that one membership is in memory at a time.
    async fn get_memberships(&self, request: pb::GetMembershipsRequest) -> Result<Streamed<pb::Membership>, CallError> {
        input::check_count("group_ids", request.group_ids.len(), MEMBERSHIPS_MAX)?;
        let ids = request.group_ids.into_iter().map(input::group_id).collect::<Result<Vec<_>, _>>()?;
        let store = Arc::clone(&self.store);
        let loaded = stream::iter(ids).then(move |id| {
            let store = Arc::clone(&store);
            async move { store.membership(id).await }
        });
        let parts = loaded.flat_map(|membership| {
            stream::iter(match membership {
                Ok(membership) => membership.map(parts_of).unwrap_or_default(),
                Err(error) => vec![Err(status_of("get_memberships", &error.into()))],
            })
        });
        Ok(Box::pin(parts))
    }
}

fn parts_of(membership: Membership) -> Vec<Result<pb::Membership, Status>> {
    let Membership { group_id, version, large, user_ids } = membership;
    let ids: Vec<_> = user_ids.into_iter().map(|user| user.0).collect();
    let part = |user_ids: &[i64], last_part| {
        Ok(pb::Membership { group_id: group_id.0, version, large, user_ids: user_ids.to_vec(), last_part })
    };
    let last = ids.len().div_ceil(MEMBERSHIP_PART_USERS_MAX).saturating_sub(1);
    let (whole, rest) = ids.split_at(last * MEMBERSHIP_PART_USERS_MAX);
    let full = whole.chunks(MEMBERSHIP_PART_USERS_MAX).map(|users| part(users, false));
    full.chain([part(rest, true)]).collect()
}

fn group_to_pb(group: Group) -> pb::Group {
    pb::Group {
        group_id: group.id.0,
        name: group.name,
        description: group.description,
        owner_id: group.owner_id.0,
        member_count: group.member_count,
        max_members: group.max_members,
        version: group.version,
        dissolved: group.dissolved,
        created_at: group.created_at,
    }
}

fn nothing(_: Group) -> pb::Empty {
    pb::Empty {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(members: i64, expected: &[usize]) {
        let user_ids = (1..=members).map(UserId).collect();
        let parts = parts_of(Membership { group_id: GroupId(7), version: 3, large: true, user_ids });
        let parts: Vec<_> = parts.into_iter().map(Result::unwrap).collect();
        assert_eq!(parts.iter().map(|part| part.user_ids.len()).collect::<Vec<_>>(), expected);
        assert!(parts.iter().flat_map(|part| part.user_ids.iter().copied()).eq(1..=members));
        assert!(parts.iter().all(|part| (part.group_id, part.version, part.large) == (7, 3, true)));
        let last: Vec<_> = parts.iter().map(|part| part.last_part).collect();
        assert!(last.iter().rev().skip(1).all(|last| !last) && last.ends_with(&[true]));
    }

    #[test]
    fn a_membership_comes_in_parts_of_ten_thousand() {
        check(0, &[0]);
        check(1, &[1]);
        check(10_000, &[10_000]);
        check(10_001, &[10_000, 1]);
        check(20_000, &[10_000, 10_000]);
    }
}
