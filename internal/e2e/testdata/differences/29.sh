# want: /workspace
# want: /workspace
echo ~
pwd
