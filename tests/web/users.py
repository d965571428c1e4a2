"""The users of the site: what each may do is in the name's line."""

PASSWORD = "open sesame"
MAY = {
    "chief": ("view_pool", "change_pool"),
    "clerk": ("view_pool",),
    "guest": (),
}


def make():
    from django.contrib.auth.models import Permission, User  # noqa: PLC0415 - needs the apps

    for name, permissions in MAY.items():
        user = User.objects.create_user(name, password=PASSWORD, is_staff=True)
        found = Permission.objects.filter(
            content_type__app_label="carpool_web", codename__in=permissions
        )
        user.user_permissions.set(found)
        assert len(found) == len(permissions)
